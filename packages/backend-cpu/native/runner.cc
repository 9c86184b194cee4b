#include "runner.h"

#include <exception>
#include <utility>

namespace slayer {

Runner::Runner(int threads, std::function<void(Job*)> finished)
    : pool_(threads), finished_(std::move(finished)), thread_([this] { loop(); }) {}

Runner::~Runner() { stop(); }

void Runner::submit(std::shared_ptr<Job> job) {
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(job));
  }
  changed_.notify_one();
}

void Runner::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    queue_.clear();
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Runner::loop() {
  for (;;) {
    std::shared_ptr<Job> job;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (stopping_) return;
      job = std::move(queue_.front());
      queue_.pop_front();
    }
    execute(*job);
    if (!stopping_) finished_(job.get());
  }
}

void Runner::execute(Job& job) {
  for (size_t i = 0; i < job.plan->steps.size(); i++) {
    if (job.cancelled || stopping_) {
      job.outcome = Job::Outcome::cancelled;
      return;
    }
    const BoundStep& step = job.plan->steps[i];
    try {
      step.kernel(step.call, pool_);
    } catch (const std::exception& error) {
      job.outcome = Job::Outcome::failed;
      job.message = "step " + std::to_string(i) + ", " + step.op + ": " + error.what();
      return;
    }
  }
}

}  // namespace slayer
