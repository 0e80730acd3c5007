"""The table of entries."""

import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        migrations.CreateModel(
            name="Entry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=80)),
                ("message", models.TextField(max_length=2000)),
                (
                    "picture",
                    models.FileField(
                        blank=True,
                        upload_to="pictures",
                        validators=[
                            django.core.validators.FileExtensionValidator(["png", "jpg", "jpeg", "gif", "webp"])
                        ],
                    ),
                ),
                ("written", models.DateTimeField(auto_now_add=True)),
            ],
            options={"verbose_name_plural": "entries", "ordering": ["-id"]},
        ),
    ]
