"""Addresses of the project."""
from django.conf import settings
from django.conf.urls.static import static
from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("notes.urls")),
]
# Uploads under `runserver`; empty unless DEBUG is on. onebox serves them without Python.
urlpatterns += static(settings.MEDIA_URL, document_root=settings.MEDIA_ROOT)
