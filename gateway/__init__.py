"""REST in, commands out; reads from Postgres and the broadcaster."""
