"""The worker's side of a job: claim, prepare, start the trainer, watch it, publish or give back.

duty.py        one doorbell: claim and run, or nothing
idle.py        looking for work when nobody rings
keeping.py     what goes on beside the work: leases, reports
running.py     attempts from the claim to their ends: made ready, started, supervised
workfolder.py  the scratch folder of one attempt: data, config, checkpoint to resume from
trainer.py     the trainer's process and its event lines
together.py    one trainer for several jobs, as a trainer for each
contract.py    what a trainer may say, and within which bounds (pure)
reading.py     events of the lab into standing and news (pure)
outcome.py     an exit status into what it means (pure)
limits.py      what an attempt may take, and what it takes
inventory.py   GPUs, processor and memory of this host, and their health
places.py      the places of an attempt: whether they can carry it, and what its end says of them
supervisor.py  the loop between the two: heartbeats, cancel, stall, time limit, checkpoints, drain
spent.py       what earlier attempts took of a job's time limit
uploads.py     checkpoints on their way into storage
away.py        a database or a storage that is away for a while
concluding.py  what the end of an attempt makes of its job
"""
