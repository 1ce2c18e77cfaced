"""Programs that clients of ours could have written. Each runs in an environment of its own, which has nothing of ours.

What they are told comes from the environment: BASE_URL, the keys and the models' names. They end with 0 or an error.
"""
