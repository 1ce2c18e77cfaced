"""Which settings a sweep tries, and when. Pure: no Django, no clock, no chance but the seed's.

space    what may be tried, and the settings drawn from it
rungs    how many settings get how many passes (successive halving)
rules    what to start next within the budget, when it is over, and which trial won
"""
