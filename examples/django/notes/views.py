"""The pages of the notes."""
from django.contrib import messages
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from .forms import NoteForm
from .models import Note


@require_http_methods(["GET", "HEAD", "POST"])
def index(request):
    form = NoteForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        note = form.save()
        messages.success(request, f"“{note.title}” is written down.")
        return redirect("index")
    status = 422 if form.is_bound else 200
    return render(request, "notes/index.html", {"form": form, "notes": Note.objects.all()[:100]}, status=status)
