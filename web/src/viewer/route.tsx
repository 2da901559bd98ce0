import { createLazyRoute } from '@tanstack/react-router'
import { ViewerPage } from './ViewerPage'

export const Route = createLazyRoute('/imaging/$studyId/view')({ component: ViewerPage })
