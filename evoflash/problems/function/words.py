"""Names that a member of a C struct cannot have, or that C++ would misread."""

_TEXT = (
    "alignas alignof and asm auto bool break case catch char class const constexpr const_cast continue "
    "decltype default delete do double dynamic_cast else enum explicit export extern false float for "
    "friend goto if inline int long mutable namespace new noexcept not nullptr operator or private "
    "protected public register reinterpret_cast restrict return short signed sizeof static static_assert "
    "static_cast struct switch template this thread_local throw true try typedef typeid typename union "
    "unsigned using virtual void volatile while xor workspace"
)
C_WORDS = frozenset(_TEXT.split())
