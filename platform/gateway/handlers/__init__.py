"""One module per path of the wire: body in, answer out. What they share is in `gateway.calls`."""
