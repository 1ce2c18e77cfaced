"""What Stripe accepts and answers, read from the installed `stripe` package.

`routes` finds method, path, parameter type and answer type of every call;
`params` checks and converts a decoded form against a parameter type;
`shapes` makes empty objects of a resource type and checks answers against it.
"""
