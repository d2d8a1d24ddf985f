"""`python -m groundplan_project`: the program `groundplan`, where scripts are not on the path."""

from groundplan_project import main

main()
