"""The project's URLconf includes these: ``path("ais/", include("django_ais.urls"))``."""

from django.urls import path

from django_ais import views

app_name = "django_ais"

urlpatterns = [
    path("runs/<uuid:run>/events", views.events, name="events"),
    path("runs/<uuid:run>/ticket", views.ticket, name="ticket"),
    path("jobs/<uuid:job>", views.job, name="job"),
    path("jobs/<uuid:job>/cancel", views.cancel, name="cancel"),
    path("jobs/<uuid:job>/retry", views.retry, name="retry"),
    path("jobs/<uuid:job>/resume", views.resume, name="resume"),
]
