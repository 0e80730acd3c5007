"""The only page."""

from django.http import JsonResponse
from django.urls import path
from entries.models import Entry


def page(request):
    rows = Entry.objects.order_by("-id").filter(id__lt=int(request.GET.get("before", 101)))[:20]
    return JsonResponse({"entries": [{"id": row.id, "title": row.title} for row in rows]})


urlpatterns = [path("entries/", page)]
