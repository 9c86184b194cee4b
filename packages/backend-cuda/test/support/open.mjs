// Opens the CUDA backend of the built package and prints why it cannot be used, or {}.
import { createCudaBackend, CudaUnavailableError } from "../../dist/index.js";

try {
  const backend = await createCudaBackend();
  await backend.close();
  console.log("{}");
} catch (error) {
  if (!(error instanceof CudaUnavailableError)) throw error;
  console.log(JSON.stringify({ reason: error.reason, message: error.message }));
}
