"""The read models that there are. A new one is a file beside this one, and a line here."""

from typing import Final

from services.projections.read_model import ReadModel
from services.projections.read_models.capabilities import CAPABILITIES
from services.projections.read_models.coalition_totals import COALITION_TOTALS
from services.projections.read_models.entries import ENTRIES
from services.projections.read_models.pledges import PLEDGES
from services.projections.read_models.target_progress import TARGET_PROGRESS
from services.projections.read_models.traits import TRAITS

READ_MODELS: Final[tuple[ReadModel, ...]] = (
    CAPABILITIES,
    ENTRIES,
    PLEDGES,
    TARGET_PROGRESS,
    TRAITS,
    COALITION_TOTALS,  # last: it computes most, and meanwhile PostgreSQL takes what the others wrote
)
