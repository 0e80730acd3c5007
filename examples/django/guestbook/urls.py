"""The addresses of the guest book."""

from django.conf import settings
from django.conf.urls.static import static
from django.contrib import admin
from django.urls import path

from entries import views

urlpatterns = [
    path("", views.index, name="index"),
    path("admin/", admin.site.urls),
]
# Uploads under `runserver`; empty unless DEBUG is on. onebox serves them without Python.
urlpatterns += static(settings.MEDIA_URL, document_root=settings.MEDIA_ROOT)
