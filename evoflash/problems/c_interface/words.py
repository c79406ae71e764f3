"""Names that a member of a C struct, or the header of a problem, cannot have."""

_TEXT = (
    "alignas alignof and asm auto bool break case catch char class const constexpr const_cast continue "
    "decltype default delete do double dynamic_cast else enum explicit export extern false float for "
    "friend goto if inline int long mutable namespace new noexcept not nullptr operator or private "
    "protected public register reinterpret_cast restrict return short signed sizeof static static_assert "
    "static_cast struct switch template this thread_local throw true try typedef typeid typename union "
    "unsigned using virtual void volatile while xor workspace"
)
C_WORDS = frozenset(_TEXT.split())

# Problems have a header of their own name, which must not be one of these.
_HEADERS = (
    "attention attention_problem cpu_exp2 cpu_launcher cpu_loops cpu_numeric_types cpu_outer_product cpu_packed_kv "
    "cpu_query_tile cpu_score_terms cpu_softmax cpu_stores cpu_vector cuda_driver dtypes evoflash log2e "
    "score_features tensor_checks assert complex ctype errno fenv float inttypes iso646 limits locale math memory omp "
    "setjmp signal stdarg stdatomic stdbool stddef stdint stdio stdlib string tgmath threads time uchar wchar wctype"
)
RESERVED = frozenset(_HEADERS.split())
