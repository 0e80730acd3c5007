"""Notes, each with a file if its writer likes."""
from django.core.validators import FileExtensionValidator
from django.db import models

PICTURES = ("png", "jpg", "jpeg", "gif", "webp")
# What browsers would run is not taken: uploads are served from the site's own address.
ALLOWED = (*PICTURES, "pdf", "txt", "csv", "zip")


class Note(models.Model):
    title = models.CharField(max_length=120)
    text = models.TextField(blank=True)
    attachment = models.FileField(upload_to="attachments/%Y/%m/", blank=True, validators=[FileExtensionValidator(ALLOWED)])
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created", "-id"]

    def __str__(self):
        return self.title

    @property
    def is_picture(self):
        return self.attachment.name.lower().endswith(PICTURES)
