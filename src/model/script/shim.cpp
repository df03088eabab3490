// Runs TorchScript for advmod: loads a module, names the calls inside it, shows their outputs while it runs.
//
// Every function that Rust calls catches everything, and returns null or a message that the caller frees with advmod_script_free_text.

#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <caffe2/serialize/read_adapter_interface.h>
#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/csrc/jit/passes/inliner.h>
#include <torch/csrc/jit/runtime/custom_operator.h>
#include <torch/csrc/jit/runtime/interpreter.h>
#include <torch/csrc/jit/serialization/import.h>

#include <cstring>
#include <map>

namespace {

using namespace torch::jit;

// A module may call itself in many places; this many nodes are more than any real network has.
constexpr size_t most_nodes = 1'000'000;

// Shows a tensor: its mark and the tensor, which the callee owns. Anything but 0 stops the run.
using Visit = int32_t (*)(void* data, int64_t mark, at::Tensor* tensor);

// Of the run on this thread; no function where nobody looks.
thread_local std::pair<Visit, void*> visitor{nullptr, nullptr};

// What a node does that the shim puts behind calls.
void show(Stack& stack) {
  const int64_t mark = pop(stack).toInt();
  const at::Tensor value = pop(stack).toTensor();
  const auto [visit, data] = visitor;
  if (visit != nullptr && visit(data, mark, new at::Tensor(value)) != 0) throw std::runtime_error("stopped");
}

const Symbol mark_kind = Symbol::fromQualString("advmod::mark");
const RegisterOperators registered(
    {Operator("advmod::mark(Tensor value, int mark) -> ()", Operation(show), c10::AliasAnalysisKind::CONSERVATIVE)});

// A call of a module. `parent` and `mark` are -1 where there is none.
struct Call {
  std::string path, type;
  int64_t parent;
  // Whether it holds a convolution or linear layer, and whether it holds any operator, not counting calls inside it.
  bool weighted = false, works = false;
  Node* marker = nullptr;
  int64_t mark = -1;
};

struct Script {
  Module module;
  std::string type;
  int64_t parameters = 0;
  std::vector<Call> calls;
  Code code;
};

// What Rust sees of a call. The texts live as long as the script.
struct CallView {
  const char *path, *type;
  int64_t parent, mark;
  bool weighted, works;
};

class Memory : public caffe2::serialize::ReadAdapterInterface {
 public:
  Memory(const char* bytes, size_t length) : bytes_(bytes), length_(length) {}
  size_t size() const override { return length_; }
  size_t read(uint64_t at, void* into, size_t count, const char*) const override {
    if (at >= length_) return 0;
    count = std::min<size_t>(count, length_ - at);
    std::memcpy(into, bytes_ + at, count);
    return count;
  }

 private:
  const char* bytes_;
  size_t length_;
};

// Nothing keeps a file from saying that a tensor is larger than its storage.
void check_bounds(const at::Tensor& tensor) {
  if (!tensor.defined() || tensor.layout() != at::kStrided) return;
  const size_t needed =
      at::detail::computeStorageNbytes(tensor.sizes(), tensor.strides(), tensor.element_size(), tensor.storage_offset());
  if (needed > tensor.storage().nbytes()) throw std::runtime_error("one of its tensors is larger than its storage");
}

// Replaces all calls by what they do, and leaves a mark behind each call of a module.
class Inliner {
 public:
  Inliner(Graph& graph, std::vector<Call>& calls) : graph_(graph), calls_(calls) {
    paths_[graph.inputs()[0]] = "";
    walk(*graph.nodes().begin(), graph.return_node(), -1, true);
  }

 private:
  // Nodes from `node` up to, not including, `end`, which are inside the call `parent`.
  void walk(Node* node, Node* end, int64_t parent, bool marked) {
    while (node != end) {
      Node* next = node->next();
      if (++nodes_ > most_nodes) throw std::runtime_error("its calls unfold to more than a million operations");
      if (GraphFunction* callee = tryToGraphFunction(node)) {
        inlined(node, *callee, parent, marked);
      } else {
        note(node, parent);
        for (Block* inner : node->blocks()) walk(*inner->nodes().begin(), inner->return_node(), parent, false);
      }
      node = next;
    }
  }

  void inlined(Node* call, GraphFunction& callee, int64_t parent, bool marked) {
    const std::string above = parent < 0 ? "" : calls_[parent].path;
    if (call->kind() == prim::CallFunction) {
      call->removeInput(0);
    } else if (const auto path = paths_.find(call->input(0)); path != paths_.end() && path->second != above) {
      // A method that a module calls on itself is no call of a module.
      const std::string type = call->input(0)->type()->expect<c10::ClassType>()->name()->qualifiedName();
      Call entry{path->second, type, parent};
      if (marked && call->outputs().size() == 1 && call->output()->type()->isSubtypeOf(*c10::TensorType::get())) {
        entry.marker = graph_.create(mark_kind, {call->output()}, 0);
        entry.marker->insertAfter(call);
      }
      parent = static_cast<int64_t>(calls_.size());
      calls_.push_back(entry);
    }
    Node *before = call->prev(), *after = call->next();
    inlineCallTo(call, &callee, callee.graph().get());
    walk(before->next(), after, parent, marked);
  }

  void note(Node* node, int64_t parent) {
    const std::string kind = node->kind().toQualString();
    for (const char* forbidden : {"aten::save", "aten::from_file", "prim::rpc_sync", "prim::rpc_async", "prim::rpc_remote"}) {
      if (kind == forbidden) throw std::runtime_error("it wants to use files or the network (" + kind + ")");
    }
    if (node->kind() == prim::Constant && node->hasAttribute(attr::value) && node->kindOf(attr::value) == AttributeKind::t) {
      check_bounds(node->t(attr::value));
    }
    if (node->kind() == prim::GetAttr && node->input()->type()->cast<c10::ClassType>() && paths_.count(node->input())) {
      const std::string& owner = paths_[node->input()];
      const std::string name = node->s(attr::name);
      paths_[node->output()] = owner.empty() ? name : owner + "." + name;
    }
    if (parent < 0 || !node->kind().is_aten()) return;
    calls_[parent].works = true;
    for (const char* layer : {"aten::conv2d", "aten::_convolution", "aten::convolution", "aten::linear", "aten::addmm"}) {
      if (kind == layer) calls_[parent].weighted = true;
    }
  }

  Graph& graph_;
  std::vector<Call>& calls_;
  std::unordered_map<Value*, std::string> paths_;
  size_t nodes_ = 0;
};

std::unique_ptr<Script> load_script(const char* bytes, size_t length, int32_t gpu) {
  const c10::Device device = gpu < 0 ? c10::Device(c10::kCPU) : c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(gpu));
  auto script = std::make_unique<Script>();
  script->module = load(std::make_shared<Memory>(bytes, length), device, false);
  script->module.eval();
  for (const at::IValue& value : script->module.attributes()) {
    if (!value.isTensor() || !value.toTensor().defined()) continue;
    at::Tensor tensor = value.toTensor();
    check_bounds(tensor);
    tensor.set_requires_grad(false);
    if (tensor.is_floating_point()) tensor.set_data(tensor.to(at::kFloat));
  }
  for (const at::Tensor& tensor : script->module.parameters()) script->parameters += tensor.numel();
  script->type = script->module.type()->name()->qualifiedName();
  Method forward = script->module.get_method("forward");
  if (forward.num_inputs() != 2) throw std::runtime_error("it takes something besides one batch of images");
  std::shared_ptr<Graph> graph = toGraphFunction(forward.function()).graph()->copy();
  Inliner(*graph, script->calls);
  // Calls that end at the same value share a mark.
  std::map<Value*, int64_t> marks;
  std::map<Node*, int64_t> mark_of;
  for (auto it = graph->nodes().begin(); it != graph->nodes().end(); ++it) {
    if (it->kind() != mark_kind) continue;
    const auto [entry, first] = marks.emplace(it->input(), marks.size());
    mark_of[*it] = entry->second;
    WithInsertPoint before(*it);
    it->addInput(graph->insertConstant(entry->second));
    if (!first) it.destroyCurrent();
  }
  for (Call& call : script->calls) call.mark = call.marker == nullptr ? -1 : mark_of[call.marker];
  script->code = Code(graph, "forward");
  return script;
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

}  // namespace

extern "C" {

char* advmod_script_load(const char* bytes, size_t length, int32_t gpu, Script** out) {
  return guarded([&] { *out = load_script(bytes, length, gpu).release(); });
}

void advmod_script_free(Script* script) { free(guarded([&] { delete script; })); }

void advmod_script_free_text(char* text) { free(text); }

// Lives as long as the script.
const char* advmod_script_class(const Script* script) { return script->type.c_str(); }

int64_t advmod_script_parameters(const Script* script) { return script->parameters; }

size_t advmod_script_calls(const Script* script) { return script->calls.size(); }

// `index` is below the number of calls.
CallView advmod_script_call(const Script* script, size_t index) {
  const Call& call = script->calls[index];
  return {call.path.c_str(), call.type.c_str(), call.parent, call.mark, call.weighted, call.works};
}

// Logits of pixels: the first of several outputs. The caller owns *out.
char* advmod_script_run(const Script* script, const at::Tensor* pixels, Visit visit, void* data, at::Tensor** out) {
  visitor = {visit, data};
  char* message = guarded([&] {
    Stack stack{script->module._ivalue(), *pixels};
    InterpreterState(script->code).run(stack);
    at::IValue result = stack.back();
    if (result.isTuple() && !result.toTupleRef().elements().empty()) result = result.toTupleRef().elements()[0];
    if (!result.isTensor()) throw std::runtime_error("it returns no tensor");
    *out = new at::Tensor(result.toTensor());
  });
  visitor = {nullptr, nullptr};
  return message;
}

}  // extern "C"
