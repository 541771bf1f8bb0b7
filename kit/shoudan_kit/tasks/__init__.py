"""Background tasks: kinds, the unit of work that makes and ends them, the worker that runs them."""
