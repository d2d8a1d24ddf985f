from .alignment import measured_offset as measured_offset
from .masks import draw as draw
from .registers import Register as Register
from .registers import add_register as add_register
