"""Makes the data that each Nautobot of the tests begins with: template.py FOLDER.

It has all tables, a superuser, and an account that has just the rights of `docs/targets/nautobot.md`. Each account has
tokens of one repeated digit.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

from services import USER, environment, initialize_postgres, postgres_program, start_postgres, start_redis

RIGHTS = [
    (["view", "add", "change", "delete"], ["virtualization.virtualmachine"]),
    (["view", "add"], ["virtualization.clustertype", "virtualization.cluster", "extras.tag", "extras.customfield"]),
    (["view"], ["extras.status"]),
]


def make_tables():
    """Makes the tables from the models, and the statuses. The migrations make the same, and take minutes."""
    from django.apps import apps
    from django.conf import settings
    from django.core.management import call_command
    from nautobot.extras.management import populate_status_choices

    settings.MIGRATION_MODULES = {app.label: None for app in apps.get_app_configs()}
    call_command("migrate", run_syncdb=True, interactive=False, verbosity=0)
    populate_status_choices()


def add_accounts():
    from django.contrib.auth import get_user_model
    from django.contrib.contenttypes.models import ContentType
    from nautobot.users.models import ObjectPermission, Token

    users = get_user_model().objects
    person = users.create_superuser("person", "person@example.com", None)
    writer = users.create_user("pod-registrar")
    Token.objects.create(user=person, key="0" * 40)
    Token.objects.create(user=writer, key="1" * 40)
    Token.objects.create(user=writer, key="2" * 40, write_enabled=False)
    for actions, models in RIGHTS:
        permission = ObjectPermission.objects.create(name=", ".join(models), actions=actions)
        permission.object_types.set(ContentType.objects.get_by_natural_key(*model.split(".")) for model in models)
        permission.users.add(writer)


def main(folder):
    initialize_postgres(folder)
    postgres, redis = start_postgres(folder), start_redis(folder)
    create = [postgres_program("createdb"), "--host", folder / "postgres", "--username", USER, "nautobot"]
    subprocess.run(create, check=True)
    os.environ.update(environment(folder))
    import nautobot

    nautobot.setup()
    make_tables()
    add_accounts()
    redis.kill()
    # With all data in the tables, the next start has nothing to recover.
    postgres.send_signal(signal.SIGINT)
    postgres.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
