"""Who trains next, where, and who makes room. Pure: no Django, no clock, no chance; the claim, the forecast of waiting
times, the page that answers "why not running?" and the simulator all ask the same functions.

    fairness    machine time, how it fades, and whose turn it is
    picture     the queue, the runs and the places at one moment
    dispatch    what may start on a host, whom to take a place from, and why a job waits
    playing     all of that played forward: when each waiting job starts
"""
