"""The run launcher stands in launch/launcher.py; this name is for values of charts before 0.2, for one release."""

from orchestration.launch.launcher import PatientRunLauncher as PatientRunLauncher
