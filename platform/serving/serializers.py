"""Bodies of this room's routes."""

from rest_framework import serializers

from kit.api import StrictSerializer


class DeploymentCreate(StrictSerializer):
    """POST /v1/deployments."""

    model = serializers.CharField(max_length=300)
    alias = serializers.CharField(max_length=100, required=False, allow_blank=False)
