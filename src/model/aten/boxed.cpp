// Calls functional operators of libtorch by their schema, through its dispatcher. Which ones is decided in Rust, by a list; nothing here chooses.
//
// Every function that Rust calls catches everything, and returns null or a message that the caller frees with advmod_aten_free_text.

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/enum_tag.h>

#include <cstring>
#include <sstream>

namespace {

// As `Tag` in boxed.rs.
enum class Tag : int32_t { Default, None, Tensor, Tensors, Integer, Integers, Number, Numbers, Flag, Text };

// What Rust hands over. A tensor that is null is None.
struct Value {
  Tag tag;
  int64_t integer;
  double number;
  const char* text;
  const int64_t* integers;
  const double* numbers;
  const at::Tensor* const* tensors;
  size_t length;
};

using Take = void (*)(void* data, at::Tensor* tensor);
using TakeText = void (*)(void* data, const char* text, int32_t registered);

[[noreturn]] void wrong(const c10::Argument& formal) {
  throw std::runtime_error("its argument `" + formal.name() + "` is no " + formal.type()->str());
}

// A tensor, or one of the same size and type without numbers.
at::Tensor tensor_of(const at::Tensor& tensor, bool meta) {
  return meta ? at::empty(tensor.sizes(), tensor.options().device(at::kMeta)) : tensor;
}

c10::IValue list_of(const Value& value, const c10::TypePtr& element, const c10::Argument& formal, bool meta) {
  const auto kind = element->kind();
  if (value.tag == Tag::Tensors && (kind == c10::TypeKind::TensorType || kind == c10::TypeKind::OptionalType)) {
    if (kind == c10::TypeKind::TensorType) {
      c10::List<at::Tensor> list;
      for (size_t at = 0; at < value.length; ++at) {
        if (value.tensors[at] == nullptr) wrong(formal);
        list.push_back(tensor_of(*value.tensors[at], meta));
      }
      return list;
    }
    if (element->castRaw<c10::OptionalType>()->getElementType()->kind() != c10::TypeKind::TensorType) wrong(formal);
    c10::List<std::optional<at::Tensor>> list;
    for (size_t at = 0; at < value.length; ++at) {
      const at::Tensor* tensor = value.tensors[at];
      list.push_back(tensor == nullptr ? std::nullopt : std::optional(tensor_of(*tensor, meta)));
    }
    return list;
  }
  if (kind == c10::TypeKind::IntType && value.tag == Tag::Integers) {
    c10::List<int64_t> list;
    for (size_t at = 0; at < value.length; ++at) list.push_back(value.integers[at]);
    return list;
  }
  if (kind == c10::TypeKind::IntType && value.tag == Tag::Integer && formal.N()) {
    c10::List<int64_t> list;
    for (int32_t at = 0; at < *formal.N(); ++at) list.push_back(value.integer);
    return list;
  }
  if (kind == c10::TypeKind::FloatType && (value.tag == Tag::Numbers || value.tag == Tag::Integers)) {
    c10::List<double> list;
    for (size_t at = 0; at < value.length; ++at) {
      list.push_back(value.tag == Tag::Numbers ? value.numbers[at] : static_cast<double>(value.integers[at]));
    }
    return list;
  }
  wrong(formal);
}

// An argument as the operator's schema wants it: kernels trust that it is.
c10::IValue value_of(const Value& value, const c10::Argument& formal, bool meta) {
  if (value.tag == Tag::Default) {
    if (!formal.default_value()) throw std::runtime_error("its argument `" + formal.name() + "` is missing");
    return *formal.default_value();
  }
  c10::TypePtr type = formal.type();
  if (const auto optional = type->cast<c10::OptionalType>()) {
    if (value.tag == Tag::None) return {};
    type = optional->getElementType();
  }
  switch (type->kind()) {
    case c10::TypeKind::TensorType:
      if (value.tag == Tag::Tensor && value.tensors[0] != nullptr) return tensor_of(*value.tensors[0], meta);
      break;
    case c10::TypeKind::NumberType:
      if (value.tag == Tag::Number) return value.number;
      if (value.tag == Tag::Integer) return value.integer;
      if (value.tag == Tag::Flag) return value.integer != 0;
      break;
    case c10::TypeKind::IntType:
      if (value.tag == Tag::Integer) return value.integer;
      break;
    case c10::TypeKind::FloatType:
      if (value.tag == Tag::Number) return value.number;
      if (value.tag == Tag::Integer) return static_cast<double>(value.integer);
      break;
    case c10::TypeKind::BoolType:
      if (value.tag == Tag::Flag) return value.integer != 0;
      break;
    case c10::TypeKind::StringType:
      if (value.tag == Tag::Text) return std::string(value.text);
      break;
    case c10::TypeKind::ListType:
      return list_of(value, type->castRaw<c10::ListType>()->getElementType(), formal, meta);
    default:
      break;
  }
  wrong(formal);
}

template <typename F>
char* guarded(F body) {
  try {
    body();
    return nullptr;
  } catch (const std::exception& error) {
    return strdup(error.what());
  } catch (...) {
    return strdup("unknown C++ exception");
  }
}

std::string text_of(const c10::FunctionSchema& schema) {
  std::ostringstream text;
  text << schema;
  return text.str();
}

}  // namespace

extern "C" {

void advmod_aten_free_text(char* text) { free(text); }

// Calls the operator that has exactly this schema and hands each tensor that it makes to `take`, which owns it. `meta`: nothing is computed, and
// the tensors have sizes and types, but no numbers.
char* advmod_aten_call(const char* name, const char* overload, const char* schema, const Value* values, size_t count, bool meta, Take take,
                       void* data) {
  return guarded([&] {
    const auto found = c10::Dispatcher::singleton().findSchema({name, overload});
    if (!found || text_of(found->schema()) != schema) throw std::runtime_error("this libtorch has no such operator");
    const auto& formals = found->schema().arguments();
    if (formals.size() != count) throw std::runtime_error("it takes another number of arguments");
    torch::jit::Stack stack;
    for (size_t at = 0; at < count; ++at) stack.push_back(value_of(values[at], formals[at], meta));
    found->callBoxed(&stack);
    for (const c10::IValue& made : stack) {
      if (made.isTensor()) {
        if (!made.toTensor().defined()) throw std::runtime_error("it makes no tensor");
        take(data, new at::Tensor(made.toTensor()));
      } else if (made.isTensorList()) {
        for (const at::Tensor& tensor : made.toTensorVector()) take(data, new at::Tensor(tensor));
      } else {
        throw std::runtime_error("it makes something else than tensors");
      }
    }
  });
}

// Every operator that is registered: its schema, and a bit for each of its tags (see boxed.rs).
char* advmod_aten_schemas(TakeText take, void* data) {
  return guarded([&] {
    auto& dispatcher = c10::Dispatcher::singleton();
    for (const auto& name : dispatcher.getAllOpNames()) {
      const auto found = dispatcher.findSchema(name);
      if (!found) continue;
      int32_t bits = found->schema().is_mutable() ? 1 : 0;
      for (const at::Tag tag : found->getTags()) bits |= 1 << (1 + static_cast<int>(tag));
      take(data, text_of(found->schema()).c_str(), bits);
    }
  });
}

}  // extern "C"
