"""How Alembic runs the migrations: on the connection that `allora_mqtt.store.migrate` hands over."""

from alembic import context

from allora_mqtt.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
