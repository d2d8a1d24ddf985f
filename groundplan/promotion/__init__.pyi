from .exports import export_model as export_model
from .found import discover as discover
from .gate import Judgement as Judgement
from .gate import judge as judge
from .gate import promote as promote
