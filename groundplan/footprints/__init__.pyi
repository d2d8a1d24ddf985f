from .footprints import load as load
from .footprints import load_around as load_around
from .footprints import provenance as provenance
