import react from '@vitejs/plugin-react'
import { defineConfig } from 'vitest/config'

const server = process.env.HILUM_DEV_SERVER ?? 'http://127.0.0.1:8000'
const proxied = ['/api', '/dicom-web', '/sources', '/health', '/openapi.json', '/docs']

export default defineConfig({
  plugins: [react()],
  worker: { format: 'es' },
  build: {
    target: 'es2022',
    // Cornerstone3D with vtk.js is one lazy chunk of about 3.6 MB; splitting it further only adds round trips.
    chunkSizeWarningLimit: 4000,
  },
  server: { proxy: Object.fromEntries(proxied.map((path) => [path, server])) },
  optimizeDeps: {
    exclude: ['@cornerstonejs/dicom-image-loader'],
    // CommonJS packages behind the excluded loader: `vite dev` must turn them into modules itself, `vite build` does it anyway.
    include: [
      'dicom-parser',
      'pako',
      'comlink',
      '@cornerstonejs/codec-libjpeg-turbo-8bit/decodewasmjs',
      '@cornerstonejs/codec-charls/decodewasmjs',
      '@cornerstonejs/codec-openjpeg/decodewasmjs',
      '@cornerstonejs/codec-openjph/wasmjs',
    ],
  },
  test: { include: ['src/**/*.test.ts'], environment: 'node' },
})
