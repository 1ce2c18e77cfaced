"""Addresses of the people pages; they live in the namespace of the console."""

from django.urls import path

from console.people import (
    audit,
    invitations,
    key_access,
    key_change,
    keys,
    limits,
    mail,
    members,
    organisations,
    profile,
    settings,
)

urlpatterns = [
    path("account/", profile.ProfilePage.as_view(), name="account"),
    path("o/", organisations.home, name="home"),
    path("o/new", organisations.NewOrganisation.as_view(), name="organisation_new"),
    path("invitations/<str:token>", invitations.InvitationPage.as_view(), name="invitation"),
    path("o/<slug:org>/members", members.MembersPage.as_view(), name="members"),
    path("o/<slug:org>/members/<str:member>/limits", limits.MemberLimitsPage.as_view(), name="member_limits"),
    path("o/<slug:org>/members/<str:member>/role", members.ChangeRole.as_view(), name="member_role"),
    path("o/<slug:org>/members/<str:member>/remove", members.RemoveMember.as_view(), name="member_remove"),
    path("o/<slug:org>/invitations/<str:invitation>/resend", members.Resend.as_view(), name="invitation_resend"),
    path("o/<slug:org>/invitations/<str:invitation>/withdraw", members.Withdraw.as_view(), name="invitation_withdraw"),
    path("o/<slug:org>/audit", audit.AuditPage.as_view(), name="audit"),
    path("o/<slug:org>/audit.csv", audit.AuditCsv.as_view(), name="audit_csv"),
    path("o/<slug:org>/settings", settings.SettingsPage.as_view(), name="settings"),
    path("o/<slug:org>/settings/projects", settings.NewProject.as_view(), name="project_new"),
    path("o/<slug:org>/settings/projects/<str:target>", settings.RenameProject.as_view(), name="project_rename"),
    path(
        "o/<slug:org>/settings/projects/<str:target>/archive", settings.ArchiveProject.as_view(), name="project_archive"
    ),
    path(
        "o/<slug:org>/settings/projects/<str:target>/limits",
        limits.ProjectLimitsPage.as_view(),
        name="project_limits",
    ),
    path("o/<slug:org>/p/<slug:project>/limits", limits.ModelLimitsList.as_view(), name="model_limits"),
    path("o/<slug:org>/p/<slug:project>/limits/<path:model>", limits.ModelLimitsPage.as_view(), name="model_limit"),
    path("o/<slug:org>/settings/training", settings.SharedTraining.as_view(), name="shared_training"),
    path("o/<slug:org>/settings/leave", settings.Leave.as_view(), name="organisation_leave"),
    path("o/<slug:org>/settings/close", settings.Close.as_view(), name="organisation_close"),
    path("o/<slug:org>/p/<slug:project>/keys", keys.KeysPage.as_view(), name="keys"),
    path("o/<slug:org>/p/<slug:project>/keys/new", keys.NewKey.as_view(), name="key_new"),
    path("o/<slug:org>/p/<slug:project>/keys/<str:key>", keys.KeyPage.as_view(), name="key"),
    path("o/<slug:org>/p/<slug:project>/keys/<str:key>/change", key_change.ChangeKey.as_view(), name="key_change"),
    path("o/<slug:org>/p/<slug:project>/keys/<str:key>/access", key_access.KeyAccess.as_view(), name="key_access"),
    path("o/<slug:org>/p/<slug:project>/keys/<str:key>/rotate", keys.RotateKey.as_view(), name="key_rotate"),
    path("o/<slug:org>/p/<slug:project>/keys/<str:key>/revoke", keys.RevokeKey.as_view(), name="key_revoke"),
    path("dev/mail", mail.mailbox, name="dev_mail"),
    path("dev/mail/<str:name>", mail.message, name="dev_letter"),
]
