"""The worker's side of a job: claim, prepare, start the trainer, watch it, publish or give back.

duty.py        one doorbell: claim and run, or nothing
workfolder.py  the scratch folder of one attempt: data, config, checkpoint to resume from
trainer.py     the trainer's process and its event lines
reading.py     events of the lab into standing and news (pure)
outcome.py     an exit status into what it means (pure)
supervisor.py  the loop between the two: heartbeats, cancel, stall, time limit, checkpoints, drain
"""
