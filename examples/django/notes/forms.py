"""The form for a note."""
from django import forms

from .models import Note


class NoteForm(forms.ModelForm):
    class Meta:
        model = Note
        fields = ["title", "text", "attachment"]
        widgets = {"text": forms.Textarea(attrs={"rows": 3})}
