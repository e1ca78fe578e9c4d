import asyncio, random
import pytest
from tests.integration.test_projector import *
async def test_dbg(bench):
    notes = noting(remembers=True)
    dice = random.Random(7)
    await bench.published.put(a_ledger(300))
    for i in range(40):
        d=dice.uniform(0.02,0.12)
        async with bench.worker(notes, most=dice.randint(1, 9)) as worker:
            task = asyncio.create_task(worker.run())
            await asyncio.sleep(d)
            task.cancel()
            done,_=await asyncio.wait((task,),timeout=5)
            if not done:
                print("STUCK", i, d, worker.problems, task.cancelling()); task.print_stack()
                for t in asyncio.all_tasks(): print(t)
                assert 0
            try: print(i, task.exception() , worker.checkpoints.get(("notes",1)) and worker.checkpoints[("notes",1)].position)
            except asyncio.CancelledError: pass
