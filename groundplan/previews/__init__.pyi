from .pictures import footprints_picture as footprints_picture
from .pictures import overview as overview
from .pictures import rgb as rgb
from .pictures import tiles_picture as tiles_picture
from .web_tiles import render as render
from .web_tiles import tile_bounds as tile_bounds
