"""A service's database: the pool, its statements, migrations, and the foundation every schema stands on."""
