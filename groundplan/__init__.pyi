from .api import compare as compare
from .api import evaluate as evaluate
from .api import export as export
from .api import predict as predict
from .api import read_block as read_block
from .api import regularise as regularise
from .api import regularize as regularize
from .errors import GroundplanError as GroundplanError
from .project import Project as Project
from .project import open_project as open_project

__version__: str
