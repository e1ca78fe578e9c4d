"""Let a read model go on that stopped before an event it cannot take."""

from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from muster.children import CannotRun
from muster.provision import for_sqlalchemy
from muster.running import Running
from services.projections import checkpoints
from services.projections.read_models import READ_MODELS


async def let_go_on(running: Running, read_model: str, position: int, reason: str | None) -> None:
    """Pass over the event at `position` for a reason, or (None) try it again. Raises CannotRun."""
    versions = [model.version for model in READ_MODELS if model.name == read_model]
    if not versions:
        known = ", ".join(model.name for model in READ_MODELS)
        raise CannotRun(f"there is no read model {read_model}; there are {known}")
    engine = create_async_engine(for_sqlalchemy(running.read_models_url), poolclass=NullPool)
    try:
        async with engine.begin() as conn:
            if reason is None:
                await checkpoints.resume(conn, (read_model, versions[-1]), position)
            else:
                await checkpoints.skip(conn, (read_model, versions[-1]), position, reason)
    except checkpoints.NotStopped as error:
        raise CannotRun(str(error)) from error
    finally:
        await engine.dispose()
