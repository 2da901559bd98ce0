// Cornerstone's two loaders, untouched, for `tests/web/test_loaders.py`: `load` gives what they make of an image.
import { imageLoader, init } from '@cornerstonejs/core'
import { init as initLoader, wadors } from '@cornerstonejs/dicom-image-loader'

init()
initLoader({ maxWebWorkers: 1 })

window.load = async (imageId, metadata) => {
  if (metadata) wadors.metaDataManager.add(imageId, (await (await fetch(metadata)).json())[0])
  const image = await imageLoader.loadImage(imageId)
  return {
    rows: image.rows,
    columns: image.columns,
    slope: image.slope,
    intercept: image.intercept,
    values: Array.from(image.getPixelData()),
  }
}
window.ready = true
