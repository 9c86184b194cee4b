#include "runner.h"

#include <exception>
#include <utility>

namespace slayer {

Runner::Runner(std::function<void()> enter, std::function<void(Job*)> finished)
    : finished_(std::move(finished)), thread_([this, enter = std::move(enter)] { loop(enter); }) {}

// Cancels the job in progress, drops what waits, and joins the thread. Dropped jobs are never finished.
Runner::~Runner() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    queue_.clear();
    if (current_) current_->cancelled = true;
  }
  changed_.notify_one();
  thread_.join();
}

void Runner::submit(std::shared_ptr<Job> job) {
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(job));
  }
  changed_.notify_one();
}

void Runner::loop(const std::function<void()>& enter) {
  std::exception_ptr unusable;
  try {
    enter();
  } catch (...) {
    unusable = std::current_exception();
  }
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      current_ = nullptr;
      changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (stopping_) return;
      current_ = std::move(queue_.front());
      queue_.pop_front();
    }
    Job& job = *current_;
    try {
      if (unusable) std::rethrow_exception(unusable);
      job.outcome = job.cancelled ? Job::Outcome::cancelled : job.work(job.cancelled);
    } catch (const std::exception& error) {
      job.outcome = Job::Outcome::failed;
      job.message = error.what();
      if (const auto* const coded = dynamic_cast<const CodedError*>(&error)) job.code = coded->code();
    }
    if (!stopping_) finished_(&job);
  }
}

}  // namespace slayer
