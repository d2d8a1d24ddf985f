from .qgis import write_qgis as write_qgis
from .stac import write_stac as write_stac
