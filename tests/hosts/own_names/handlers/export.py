def export(access):
    return f"{access.user_id}'s notes"
