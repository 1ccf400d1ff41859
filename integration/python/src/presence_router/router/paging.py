"""Cut answers of queries into pages that fit a message."""

from __future__ import annotations

from collections.abc import Sequence

from presence_router.wire import (
    InterestedUsersAnswer,
    InterestedUsersRequest,
    QueryError,
    UserID,
    UsersForStatesAnswer,
    UsersForStatesRequest,
    UserState,
    UserStates,
    encode_state,
)

DEFAULT_LIMIT = 1000
ENVELOPE_BYTES = 2048
"""What an answer has room for beside users and states: the user it ends with, and keys."""


def page_of_users(request: InterestedUsersRequest, users: Sequence[UserID], max_bytes: int) -> InterestedUsersAnswer:
    """Return the page that a request asks for; `users` are sorted."""
    behind = [user for user in users if request.after is None or user > request.after]
    room = max_bytes - ENVELOPE_BYTES
    page: list[UserID] = []
    for user in behind[: request.limit or DEFAULT_LIMIT]:
        room -= _text_bytes(user)
        if room < 0 and page:
            break
        page.append(user)
    is_last = len(page) == len(behind)
    return InterestedUsersAnswer(False, tuple(page), None if is_last else page[-1])


def page_of_states(request: UsersForStatesRequest, users: Sequence[UserStates], max_bytes: int) -> UsersForStatesAnswer:
    """Return the page that a request asks for; `users` are sorted. Raise QueryError if a state fits no page."""
    behind = [rest for user in users if (rest := _behind(request, user)) is not None]
    room = max_bytes - ENVELOPE_BYTES
    page: list[UserStates] = []
    for user in behind:
        room -= _text_bytes(user.user_id)
        fitting, used = _fitting(user.states, room)
        room -= used
        if fitting == len(user.states):
            page.append(user)
        elif page:
            return UsersForStatesAnswer(tuple(page), page[-1].user_id)
        elif fitting == 0:
            message = f"a state for {user.user_id} fits no answer of {max_bytes} bytes"
            raise QueryError(QueryError.TOO_LARGE, message)
        else:
            given = _given(request, user.user_id) + fitting
            return UsersForStatesAnswer((UserStates(user.user_id, user.states[:fitting]),), user.user_id, given)
    return UsersForStatesAnswer(tuple(page))


def _behind(request: UsersForStatesRequest, user: UserStates) -> UserStates | None:
    """Return what of a user's states is not given yet, None for nothing."""
    if request.after is None or user.user_id > request.after:
        return user if user.states else None
    rest = user.states[_given(request, user.user_id) :] if _given(request, user.user_id) else ()
    return UserStates(user.user_id, rest) if rest else None


def _given(request: UsersForStatesRequest, user: UserID) -> int:
    return (request.after_states or 0) if user == request.after else 0


def _fitting(states: Sequence[UserState], room: int) -> tuple[int, int]:
    used = 0
    for i, state in enumerate(states):
        size = len(encode_state(state)) + len(",")
        if used + size > room:
            return i, used
        used += size
    return len(states), used


def _text_bytes(user: UserID) -> int:
    return 6 * len(user.encode()) + len('"":[],')
