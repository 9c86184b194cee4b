#include "runner.h"

#include <exception>
#include <utility>

namespace slayer::cuda {

Runner::Runner(std::shared_ptr<Device> device, std::function<void(Job*)> finished)
    : device_(std::move(device)), finished_(std::move(finished)), thread_([this] { loop(); }) {}

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
    if (current_) current_->cancelled = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Runner::loop() {
  std::string unusable;
  try {
    device_->enter_thread();
  } catch (const std::exception& error) {
    unusable = error.what();
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
      if (!unusable.empty()) throw std::runtime_error(unusable);
      job.outcome = job.cancelled ? Job::Outcome::cancelled : job.work(job.cancelled);
    } catch (const std::exception& error) {
      job.outcome = Job::Outcome::failed;
      job.message = error.what();
    }
    if (!stopping_) finished_(&job);
  }
}

}  // namespace slayer::cuda
