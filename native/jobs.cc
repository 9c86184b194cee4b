#include "jobs.h"

#include <string>
#include <system_error>
#include <utility>

namespace slayer {

void throw_coded(Napi::Env env, const CodedError& error) {
  auto thrown = Napi::Error::New(env, error.what());
  thrown.Set("code", Napi::String::New(env, error.code()));
  throw thrown;
}

Jobs::Jobs(Napi::Env env, std::function<void()> enter) : env_(env) {
  try {
    runner_ = std::make_unique<Runner>(std::move(enter), [this](Job* job) { queue_.BlockingCall(job); });
  } catch (const std::system_error& error) {
    throw Napi::Error::New(env, std::string("cannot start a thread: ") + error.what());
  }
  queue_ = Queue::New(env, "slayer run", 0, 1, this);
  queue_.Unref(env);
  // When the environment ends (process.exit, a worker's end), hooks run last first: the thread is joined before the queue and the
  // memory it uses go.
  napi_add_env_cleanup_hook(env, end_with_environment, this);
}

void Jobs::close() {
  if (!runner_) return;
  runner_.reset();
  napi_remove_env_cleanup_hook(env_, end_with_environment, this);
  queue_.Release();
}

void Jobs::end_with_environment(void* jobs) { static_cast<Jobs*>(jobs)->runner_.reset(); }

Napi::Value Jobs::submit(Napi::Env env, decltype(Job::work) work, Blocks blocks, Napi::Function done,
                         std::initializer_list<Napi::Object> held) {
  if (!runner_) throw Napi::Error::New(env, "the session is closed");
  for (const auto& block : blocks) {
    if (block->freed) throw Napi::Error::New(env, "a buffer of this executable was freed");
  }
  for (const auto& block : blocks) block->jobs++;
  auto job = std::make_shared<Job>();
  job->id = next_id_++;
  job->work = std::move(work);
  if (pending_.empty()) queue_.Ref(env);
  Pending& pending = pending_[job->id];
  pending.job = job;
  pending.blocks = std::move(blocks);
  pending.done = Napi::Persistent(done);
  for (const Napi::Object& object : held) pending.held.push_back(Napi::Persistent(object));
  runner_->submit(job);
  return Napi::Number::New(env, job->id);
}

void Jobs::cancel(uint32_t id) {
  const auto found = pending_.find(id);
  if (found != pending_.end()) found->second.job->cancelled = true;
}

void Jobs::deliver(Napi::Env env, Napi::Function, Jobs* jobs, Job* job) {
  if (env != nullptr) jobs->finish(env, job);
}

void Jobs::finish(Napi::Env env, Job* job) {
  const auto node = pending_.extract(job->id);
  const Pending& pending = node.mapped();
  for (const auto& block : pending.blocks) {
    if (--block->jobs == 0 && block->freed) block->release();
  }
  if (pending_.empty()) queue_.Unref(env);
  static constexpr const char* kOutcomes[] = {"done", "cancelled", "failed"};
  const auto text = [&](const std::string& value) { return Napi::String::New(env, value); };
  pending.done.Call({text(kOutcomes[static_cast<int>(job->outcome)]), text(job->message), text(job->code)});
}

}  // namespace slayer
