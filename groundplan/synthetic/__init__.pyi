from .country import Country as Country
from .country import draw as draw
from .country import late_sheet as late_sheet
from .place import Building as Building
from .place import Location as Location
from .place import Street as Street
