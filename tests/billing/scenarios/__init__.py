"""Our own flows with a Stripe, as one list of named steps, taken by the local emulator and by Stripe itself."""
