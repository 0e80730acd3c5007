"""One page: the form, and what was written."""

from django.forms import ModelForm
from django.shortcuts import redirect, render

from entries.models import Entry


class EntryForm(ModelForm):
    class Meta:
        model = Entry
        fields = ["name", "message", "picture"]


def index(request):
    form = EntryForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        form.save()
        return redirect("index")
    status = 400 if request.method == "POST" else 200
    return render(request, "entries/index.html", {"form": form, "entries": Entry.objects.all()[:50]}, status=status)
