from .cluster import SimulatedCluster as SimulatedCluster
from .costs import Costs as Costs
from .costs import measured as measured
from .costs import reference as reference
from .request import Outcome as Outcome
from .request import Request as Request
from .simulation import simulate as simulate
