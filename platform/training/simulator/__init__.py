"""A fleet and its tenants in one process, with a clock of its own: the rules of `training.scheduling` under ten
thousand jobs, and under faults, in seconds. No Django, no torch.

    loads        who asks for what and when, from a seed
    ledger       the tables of training in memory: the same states, leases and refusals
    world        hosts, workers, faults and time
    invariants   what must hold after every step
    rivals       other rules, to compare with

    python -m training.simulator --help
"""
