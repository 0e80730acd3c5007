"""Notes in Django's administration."""
from django.contrib import admin

from .models import Note


@admin.register(Note)
class NoteAdmin(admin.ModelAdmin):
    list_display = ["title", "attachment", "created"]
    search_fields = ["title", "text"]
